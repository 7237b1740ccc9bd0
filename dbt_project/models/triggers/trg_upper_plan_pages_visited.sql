-- Somebody of a customer looked at the pages of upper plans more than once: show what peers do with them.
-- One episode per time of interest, opened by the view that makes upper_plan_min_views; over after page_interest_days
-- without one. None where there is no plan above the one bought.
{{ config(meta={"sync": {
    "kind": "trigger",
    "channel": "email",
    "key": "event_id",
    "template": "upper_plan_pages_visited",
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

plan_prices as (

    select
        plan_name,
        avg(monthly_amount) as monthly_amount
    from {{ ref('int_prices__monthly') }}
    group by plan_name

),

dearest as (

    select max(monthly_amount) as monthly_amount
    from plan_prices

),

opened as (

    select
        visited.customer_id,
        visited.contact_id,
        '' as subject,
        visited.opened_date
    from {{ interested_days('page_views', 'upper_plan', 'upper_plan_min_views') }} as visited
    inner join customers
        on visited.customer_id = customers.customer_id
    inner join plan_prices
        on customers.plan_name = plan_prices.plan_name
    cross join dearest
    where
        {{ is_candidate('visited.opened_date') }}
        and customers.journey_stage <> 'churned'
        and not customers.has_given_notice
        and plan_prices.monthly_amount < dearest.monthly_amount

),

identified as (

    select * from {{ episodes('upper_plan_pages_visited', 'opened') }} as known_episodes

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
            "'Looked at upper plans on '",
            'identified.opened_date',
            "', has '",
            'customers.plan_name',
        ]) }} as reason,
        customers.customer_name,
        customers.industry,
        customers.plan_name
    from identified
    inner join contacts
        on identified.contact_id = contacts.contact_id
    inner join customers
        on identified.customer_id = customers.customer_id

),

final as (

    select * from {{ advised('described', 'upper_plans', ['industry']) }} as advised_rows

)

select * from final
