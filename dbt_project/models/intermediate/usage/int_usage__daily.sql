-- Product events counted by who did what on which day (UTC); a session without a feature counts under `app`.
-- Use that belongs to no known customer is kept apart with an empty customer_id, for the data quality mart.
with

events as (

    select * from {{ ref('stg_segment__tracks') }}

),

product_users as (

    select * from {{ ref('int_product_users__identified') }}

),

customers as (

    select * from {{ ref('int_customers__identified') }}

),

features as (

    select * from {{ ref('features') }}

),

-- the workspace on the event says whose usage it is; without one, the user's customer
attributed as (

    select
        events.event_id,
        coalesce(customers.customer_id, product_users.customer_id) as customer_id,
        product_users.contact_id,
        coalesce(features.feature, 'app') as feature,
        coalesce(features.is_key, false) as is_key_feature,
        coalesce(features.is_first_value, false) as is_first_value,
        cast(events.occurred_at as date) as usage_date,
        events.occurred_at
    from events
    left join customers
        on events.workspace_id = customers.workspace_id
    left join product_users
        on events.user_id = product_users.user_id
    left join features
        on events.event_name = features.event
    where events.event_name <> 'error_encountered'

),

final as (

    select
        customer_id,
        contact_id,
        feature,
        is_key_feature,
        is_first_value,
        usage_date,
        count(*) as uses,
        min(occurred_at) as first_used_at,
        max(occurred_at) as last_used_at,
        min(event_id) as example_event_id
    from attributed
    group by
        customer_id,
        contact_id,
        feature,
        is_key_feature,
        is_first_value,
        usage_date

)

select * from final
