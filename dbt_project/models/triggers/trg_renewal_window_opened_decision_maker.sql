-- The term ends soon enough to talk about it: show those who decide what was reached, and what peers reached.
-- One episode per term and contact, opened with the first day of the window. None once notice was given.
{{ config(meta={"sync": {
    "kind": "trigger",
    "channel": "email",
    "key": "event_id",
    "template": "renewal_window_opened_decision_maker",
}}) }}

with

customers as (

    select * from {{ ref('customers') }}

),

contacts as (

    select * from {{ ref('contacts') }}

),

windowed as (

    select
        customers.*,
        {{ renewal_window_date('customers.renewal_date', 'customers.term_months') }} as opened_date
    from customers
    where
        customers.renewal_date >= {{ as_of_date() }}
        and not customers.has_given_notice

),

opened as (

    select
        windowed.customer_id,
        contacts.contact_id,
        '' as subject,
        windowed.opened_date
    from windowed
    inner join contacts
        on windowed.customer_id = contacts.customer_id
    where
        {{ is_candidate('windowed.opened_date') }}
        and contacts.role = 'decision_maker'

),

identified as (

    select * from {{ episodes('renewal_window_opened_decision_maker', 'opened') }} as known_episodes

),

described as (

    select
        identified.event_id,
        identified.customer_id,
        identified.contact_id,
        identified.subject,
        contacts.email,
        contacts.full_name as contact_name,
        contacts.language,
        cast(identified.opened_date as {{ dbt.type_timestamp() }}) as occurred_at,
        {{ sentence(["'Decides about the renewal of '", 'customers.renewal_date']) }} as reason,
        customers.customer_name,
        customers.industry,
        customers.seats_used,
        customers.key_features_28d as key_features_used,
        customers.renewal_date
    from identified
    inner join contacts
        on identified.contact_id = contacts.contact_id
    inner join customers
        on identified.customer_id = customers.customer_id

),

final as (

    select * from {{ advised('described', 'renewal_value', ['industry']) }} as advised_rows

)

select * from final
