-- Where customers stumble: each error in each feature, whom it hit in 28 days, and who got on with it afterwards.
with

errors as (

    select * from {{ ref('stg_segment__errors') }}

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

usage_daily as (

    select * from {{ ref('int_usage__daily') }}

),

hits as (

    select
        errors.event_id,
        coalesce(features.feature, errors.feature, 'app') as feature,
        features.feature_name_en,
        features.feature_name_ja,
        features.module,
        errors.error_code,
        errors.user_id,
        coalesce(customers.customer_id, product_users.customer_id) as customer_id,
        product_users.contact_id,
        errors.occurred_at,
        cast(errors.occurred_at as date) > {{ days_before(as_of_date(), 28) }} as is_recent
    from errors
    left join features
        on errors.feature = features.event
    left join customers
        on errors.workspace_id = customers.workspace_id
    left join product_users
        on errors.user_id = product_users.user_id
    where cast(errors.occurred_at as date) > {{ days_before(as_of_date(), 56) }}

),

-- recovered: the same person used the feature after the error, within the days that the rule gives
recovered as (

    select distinct hits.event_id
    from hits
    inner join usage_daily
        on
            hits.user_id = usage_daily.user_id
            and hits.feature = usage_daily.feature
            and usage_daily.uses > 0
            and usage_daily.last_used_at > hits.occurred_at
            and usage_daily.usage_date <= cast({{ dbt.dateadd(
                'day',
                'cast(' ~ threshold('recovery_days') ~ ' as integer)',
                'hits.occurred_at'
            ) }} as date)

),

-- a person whose days to recover are not over yet is not judged, unless they did already
judged as (

    select
        hits.*,
        recovered.event_id is not null as has_recovered,
        recovered.event_id is not null or cast(hits.occurred_at as date) <= {{ days_before(
            as_of_date(), 'cast(' ~ threshold('recovery_days') ~ ' as integer)'
        ) }} as is_judged
    from hits
    left join recovered
        on hits.event_id = recovered.event_id

),

final as (

    select
        feature,
        error_code,
        min(feature_name_en) as feature_name_en,
        min(feature_name_ja) as feature_name_ja,
        min(module) as module,
        cast(sum(case when is_recent then 1 else 0 end) as bigint) as errors_28d,
        cast(sum(case when is_recent then 0 else 1 end) as bigint) as errors_28d_before,
        cast(count(distinct case when is_recent then customer_id end) as integer) as customers_28d,
        cast(count(distinct case when is_recent then contact_id end) as integer) as contacts_28d,
        cast(count(distinct case when is_recent and is_judged and not has_recovered then contact_id end) as integer)
            as contacts_stuck_28d,
        cast({{ ratio(
            'sum(case when is_recent and has_recovered then 1 else 0 end)',
            'sum(case when is_recent and is_judged then 1 else 0 end)'
        ) }} as decimal(5, 4)) as recovered_share_28d,
        max(occurred_at) as last_seen_at,
        max(event_id) as example_event_id
    from judged
    group by
        feature,
        error_code

)

select * from final
