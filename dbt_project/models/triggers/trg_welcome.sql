-- Somebody's login at a customer was seen for the first time: say hello and show the first step.
-- One episode per person.
{{ config(meta={"sync": {
    "kind": "trigger",
    "channel": "email",
    "key": "event_id",
    "template": "welcome",
}}) }}

with

product_users as (

    select * from {{ ref('int_product_users__identified') }}

),

contacts as (

    select * from {{ ref('contacts') }}

),

customers as (

    select * from {{ ref('customers') }}

),

-- a person may have several logins: the first counts
arrived as (

    select
        contact_id,
        cast(min(first_seen_at) as date) as opened_date
    from product_users
    where contact_id is not null
    group by contact_id

),

opened as (

    select
        customers.customer_id,
        arrived.contact_id,
        '' as subject,
        arrived.opened_date
    from arrived
    inner join contacts
        on arrived.contact_id = contacts.contact_id
    inner join customers
        on contacts.customer_id = customers.customer_id
    where
        {{ is_candidate('arrived.opened_date') }}
        and customers.journey_stage <> 'churned'

),

identified as (

    select * from {{ episodes('welcome', 'opened') }} as known_episodes

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
        {{ sentence(["'Seen in the product for the first time on '", 'identified.opened_date']) }} as reason,
        customers.customer_name,
        contacts.role
    from identified
    inner join contacts
        on identified.contact_id = contacts.contact_id
    inner join customers
        on identified.customer_id = customers.customer_id

),

final as (

    select * from {{ advised('described', 'getting_started') }} as advised_rows

)

select * from final
