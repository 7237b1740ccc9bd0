-- Readers of the newsletter by what interests them most and by language. Whoever has shown no interest yet gets the general
-- edition.
{{ config(meta={"sync": {
    "kind": "segment",
    "destinations": ["hubspot"],
    "key": "contact_id",
    "group_key": "edition",
    "list": "Newsletter",
}}) }}

with

contacts as (

    select * from {{ ref('contacts') }}

),

customers as (

    select * from {{ ref('customers') }}

),

reachable as (

    select *
    from {{ ref('contact_consents') }}
    where
        channel = 'email'
        and purpose = 'marketing'
        and is_allowed

),

interests as (

    select *
    from {{ ref('contact_interests') }}
    where
        interest_rank = 1

),

final as (

    select
        contacts.contact_id,
        contacts.customer_id,
        contacts.email,
        {{ dbt.concat(["coalesce(interests.topic, 'general')", "' / '", 'contacts.language']) }} as edition,
        case
            when interests.topic is null then 'Reacted to no topic of late'
            else {{ sentence([
                "'Reactions to '",
                'interests.topic',
                "': '",
                'interests.reactions',
                "', last on '",
                'cast(interests.last_reacted_at as date)',
            ]) }}
        end as reason
    from contacts
    inner join customers
        on contacts.customer_id = customers.customer_id
    inner join reachable
        on contacts.contact_id = reachable.contact_id
    left join interests
        on contacts.contact_id = interests.contact_id
    where customers.journey_stage <> 'churned'

)

select * from final
