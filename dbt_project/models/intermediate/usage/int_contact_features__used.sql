-- How much and when a contact used each feature.
with

usage_daily as (

    select * from {{ ref('int_usage__daily') }}

),

final as (

    select
        customer_id,
        contact_id,
        feature,
        is_key_feature,
        sum(uses) as uses,
        count(distinct usage_date) as days_used,
        min(first_used_at) as first_used_at,
        max(last_used_at) as last_used_at
    from usage_daily
    where
        contact_id is not null
        and customer_id is not null
        and uses > 0
    group by
        customer_id,
        contact_id,
        feature,
        is_key_feature

)

select * from final
