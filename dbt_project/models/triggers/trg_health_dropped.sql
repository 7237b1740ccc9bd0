-- The health of a customer fell well below where it stood four weeks before: their success manager should know today.
-- One episode per fall: it opens on the first day of the drop.
{{ config(meta={"sync": {
    "kind": "trigger",
    "channel": "owner_alert",
    "key": "event_id",
    "object": "customer",
}}) }}

with

history as (

    select * from {{ ref('customer_health_history') }}

),

customers as (

    select * from {{ ref('customers') }}

),

health as (

    select * from {{ ref('customer_health') }}

),

compared as (

    select
        today.customer_id,
        today.as_of_date,
        today.health_score,
        month_ago.health_score as previous_health_score,
        -- empty where the two days cannot be compared
        month_ago.health_score - today.health_score >= {{ threshold('health_drop_points') }} as is_dropped
    from history as today
    left join history as month_ago
        on
            today.customer_id = month_ago.customer_id
            and month_ago.as_of_date = {{ days_before('today.as_of_date', 28) }}

),

-- the day before tells whether the drop is new; where it cannot tell, nothing opens
opened as (

    select
        compared.*,
        lag(is_dropped) over (
            partition by customer_id
            order by as_of_date
        ) as was_dropped
    from compared

),

final as (

    select
        {{ hashed_id(["'health_dropped'", 'opened.customer_id', 'opened.as_of_date']) }} as event_id,
        opened.customer_id,
        cast(null as {{ dbt.type_string() }}) as contact_id,
        customers.csm_owner_email as owner_email,
        customers.csm_owner_name as owner_name,
        cast(opened.as_of_date as {{ dbt.type_timestamp() }}) as occurred_at,
        customers.customer_name,
        customers.journey_stage,
        opened.health_score,
        opened.previous_health_score,
        health.weakest_dimension_en as reason_en,
        health.weakest_dimension_ja as reason_ja
    from opened
    inner join customers
        on opened.customer_id = customers.customer_id
    inner join health
        on opened.customer_id = health.customer_id
    where
        opened.is_dropped
        and not coalesce(opened.was_dropped, true)
        and opened.as_of_date > {{ days_before(as_of_date(), 'cast(' ~ threshold('episode_days') ~ ' as integer)') }}

)

select * from final
