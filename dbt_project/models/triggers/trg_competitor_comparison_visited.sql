-- Somebody of a customer compared us with a competitor: offer what peers got out of staying, and a talk.
-- One episode per time of interest, opened by the view that makes comparison_min_views; over after page_interest_days
-- without one.
{{ config(meta={"sync": {
    "kind": "trigger",
    "channel": "email",
    "key": "event_id",
    "template": "competitor_comparison_visited",
}}) }}

with

page_views as (

    select * from {{ ref('int_page_views__attributed') }}

),

customers as (

    select * from {{ ref('customers') }}

),

contacts as (

    select * from {{ ref('contacts') }}

),

opened as (

    select
        visited.customer_id,
        visited.contact_id,
        '' as subject,
        visited.opened_date
    from {{ interested_days('page_views', 'competitor_comparison', 'comparison_min_views') }} as visited
    inner join customers
        on visited.customer_id = customers.customer_id
    where
        {{ is_candidate('visited.opened_date') }}
        and customers.journey_stage <> 'churned'

),

identified as (

    select * from {{ episodes('competitor_comparison_visited', 'opened') }} as known_episodes

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
        {{ sentence([
            "'Looked at how we compare with competitors, on '",
            'identified.opened_date',
        ]) }} as reason,
        customers.customer_name,
        customers.industry
    from identified
    inner join contacts
        on identified.contact_id = contacts.contact_id
    inner join customers
        on identified.customer_id = customers.customer_id

),

final as (

    select * from {{ advised('described', 'peers_results', ['industry']) }} as advised_rows

)

select * from final
