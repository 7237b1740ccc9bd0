-- What the usage of a contact amounts to at the clock.
with

usage_daily as (

    select * from {{ ref('int_usage__daily') }}

),

known as (

    select *
    from usage_daily
    where
        contact_id is not null
        and customer_id is not null

),

lasting as (

    select
        contact_id,
        min(customer_id) as customer_id,
        max(last_used_at) as last_active_at,
        min(first_used_at) as first_active_at
    from known
    group by contact_id

),

-- different things are counted among the rows of four weeks, not of all time
recent as (

    select
        contact_id,
        count(distinct usage_date) as active_days_28d,
        count(distinct case when feature <> 'app' then feature end) as features_28d,
        count(distinct case when is_key_feature then feature end) as key_features_28d,
        count(distinct module) as modules_28d,
        sum(sessions) as sessions_28d,
        sum(errors) as errors_28d
    from known
    where usage_date > {{ days_before(as_of_date(), 28) }}
    group by contact_id

),

final as (

    select
        lasting.contact_id,
        lasting.customer_id,
        lasting.last_active_at,
        coalesce(recent.active_days_28d, 0) as active_days_28d,
        coalesce(recent.features_28d, 0) as features_28d,
        coalesce(recent.key_features_28d, 0) as key_features_28d,
        coalesce(recent.modules_28d, 0) as modules_28d,
        coalesce(recent.sessions_28d, 0) as sessions_28d,
        coalesce(recent.errors_28d, 0) as errors_28d,
        lasting.first_active_at
    from lasting
    left join recent
        on lasting.contact_id = recent.contact_id

)

select * from final
