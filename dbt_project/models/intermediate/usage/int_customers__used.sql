-- What the usage of a customer amounts to at the clock.
-- Breadth is what they use, frequency on how many days, depth how much in a day, stickiness how many of them daily.
with

usage_daily as (

    select * from {{ ref('int_usage__daily') }}

),

contact_days as (

    select
        customer_id,
        count(*) as contact_days_28d
    from (
        select distinct
            customer_id,
            contact_id,
            usage_date
        from usage_daily
        where
            contact_id is not null
            and usage_date > {{ days_before(as_of_date(), 28) }}
    ) as active
    group by customer_id

),

lasting as (

    select
        customer_id,
        min(first_used_at) as first_active_at,
        min(case when is_first_value then first_used_at end) as first_value_at,
        max(last_used_at) as last_active_at
    from usage_daily
    where customer_id is not null
    group by customer_id

),

-- different things are counted among the rows of a quarter, not of all time
recent as (

    select
        customer_id,
        count(distinct case
            when usage_date > {{ days_before(as_of_date(), 28) }} then usage_date
        end) as active_days_28d,
        count(distinct case
            when usage_date > {{ days_before(as_of_date(), 28) }} then contact_id
        end) as active_contacts_28d,
        count(distinct contact_id) as active_contacts_90d,
        count(distinct case
            when is_key_feature and usage_date > {{ days_before(as_of_date(), 28) }} then feature
        end) as key_features_28d,
        count(distinct case
            when usage_date > {{ days_before(as_of_date(), 7) }} then usage_date
        end) as active_days_7d,
        count(distinct case
            when feature <> 'app' and usage_date > {{ days_before(as_of_date(), 28) }} then feature
        end) as features_28d,
        count(distinct case
            when usage_date > {{ days_before(as_of_date(), 28) }} then module
        end) as modules_28d,
        sum(case when usage_date > {{ days_before(as_of_date(), 28) }} then uses else 0 end) as uses_28d,
        sum(case when usage_date > {{ days_before(as_of_date(), 28) }} then sessions else 0 end) as sessions_28d,
        sum(case when usage_date > {{ days_before(as_of_date(), 28) }} then errors else 0 end) as errors_28d
    from usage_daily
    where
        customer_id is not null
        and usage_date > {{ days_before(as_of_date(), 90) }}
    group by customer_id

),

final as (

    select
        lasting.customer_id,
        lasting.first_active_at,
        lasting.first_value_at,
        lasting.last_active_at,
        coalesce(recent.active_days_28d, 0) as active_days_28d,
        coalesce(recent.active_contacts_28d, 0) as active_contacts_28d,
        coalesce(recent.active_contacts_90d, 0) as active_contacts_90d,
        coalesce(recent.key_features_28d, 0) as key_features_28d,
        coalesce(recent.active_days_7d, 0) as active_days_7d,
        coalesce(recent.features_28d, 0) as features_28d,
        coalesce(recent.modules_28d, 0) as modules_28d,
        coalesce(recent.uses_28d, 0) as uses_28d,
        coalesce(recent.sessions_28d, 0) as sessions_28d,
        coalesce(recent.errors_28d, 0) as errors_28d,
        {{ days_between('lasting.first_active_at', 'lasting.first_value_at') }} as days_to_first_value,
        {{ ratio('recent.uses_28d', 'contact_days.contact_days_28d') }} as uses_per_contact_day_28d,
        {{ ratio('contact_days.contact_days_28d', '28 * recent.active_contacts_28d') }} as stickiness_28d
    from lasting
    left join recent
        on lasting.customer_id = recent.customer_id
    left join contact_days
        on lasting.customer_id = contact_days.customer_id

)

select * from final
