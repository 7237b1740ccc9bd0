-- Decision makers and admins of customers whose term ends soon enough to talk about it.
{{ config(meta={"sync": {
    "kind": "segment",
    "destinations": ["hubspot"],
    "key": "contact_id",
    "list": "Renewal window",
}}) }}

with

journey as (

    select * from {{ ref('customer_journey') }}

),

contacts as (

    select * from {{ ref('contacts') }}

),

final as (

    select
        contacts.contact_id,
        contacts.customer_id,
        contacts.email,
        journey.renewal_date,
        {{ dbt.concat([
            "'Renews in '",
            'cast(journey.days_to_renewal as ' ~ dbt.type_string() ~ ')',
            "' days; '",
            'contacts.role',
        ]) }} as reason
    from contacts
    inner join journey
        on contacts.customer_id = journey.customer_id
    where
        journey.is_in_renewal_window
        and contacts.role in ('decision_maker', 'admin')

)

select * from final
