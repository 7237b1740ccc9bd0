-- Which features a customer uses, tried, left or never touched.
with

customers as (

    select * from {{ ref('int_customers__subscribed') }}

),

feature_events as (

    select * from {{ ref('features') }}

),

usage_daily as (

    select * from {{ ref('int_usage__daily') }}

),

-- several events can belong to one feature
features as (

    select
        feature,
        min(feature_name_en) as feature_name_en,
        min(feature_name_ja) as feature_name_ja,
        min(module) as module,
        max(case when is_key then 1 else 0 end) = 1 as is_key_feature
    from feature_events
    group by feature

),

used as (

    select
        customer_id,
        feature,
        sum(uses) as uses,
        sum(case when usage_date > {{ days_before(as_of_date(), 28) }} then uses else 0 end) as uses_28d,
        count(distinct case when usage_date > {{ days_before(as_of_date(), 28) }} then usage_date end) as days_used_28d,
        count(distinct case when usage_date > {{ days_before(as_of_date(), 28) }} then contact_id end) as contacts_28d,
        min(first_used_at) as first_used_at,
        max(last_used_at) as last_used_at
    from usage_daily
    where customer_id is not null
    group by customer_id, feature

),

final as (

    select
        customers.customer_id,
        features.feature,
        features.feature_name_en,
        features.feature_name_ja,
        features.module,
        features.is_key_feature,
        case
            when used.uses is null then 'never_used'
            when used.days_used_28d = 0 then 'lapsed'
            when used.days_used_28d < {{ threshold('feature_adopted_min_days') }} then 'tried'
            else 'adopted'
        end as adoption_status,
        cast(coalesce(used.uses, 0) as bigint) as uses,
        cast(coalesce(used.uses_28d, 0) as bigint) as uses_28d,
        cast(coalesce(used.days_used_28d, 0) as integer) as days_used_28d,
        cast(coalesce(used.contacts_28d, 0) as integer) as contacts_28d,
        used.first_used_at,
        used.last_used_at
    from customers
    cross join features
    left join used
        on
            customers.customer_id = used.customer_id
            and features.feature = used.feature

)

select * from final
