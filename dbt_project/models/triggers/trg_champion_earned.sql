-- Somebody came to work in the product on most days and with many features: thank them and offer the circle of experts.
-- One episode per time as a champion: over when they are there on champion_exit_active_days of 28 or fewer.
{{ config(meta={"sync": {
    "kind": "trigger",
    "channel": "email",
    "key": "event_id",
    "template": "champion_earned",
}}) }}

with

used as (

    select
        contact_id,
        feature,
        usage_date
    from {{ ref('int_usage__daily') }}
    where
        contact_id is not null
        and customer_id is not null
        and usage_date <= {{ as_of_date() }}
        and usage_date > {{ days_before(as_of_date(), 210) }}

),

-- whoever became a champion within the days of a candidate was there on enough days before: few are followed day by day
often_there as (

    select contact_id
    from used
    where usage_date > {{ days_before(as_of_date(), '(28 + cast(' ~ threshold('episode_days') ~ ' as integer))') }}
    group by contact_id
    having count(distinct usage_date) >= {{ threshold('champion_min_active_days') }}

),

usage_daily as (

    select used.*
    from used
    inner join often_there
        on used.contact_id = often_there.contact_id

),

features_used as (

    select *
    from usage_daily
    where feature <> 'app'

),

contacts as (

    select * from {{ ref('contacts') }}

),

customers as (

    select * from {{ ref('customers') }}

),

-- the days on which the count of active days or of features in 28 days changes
changes as (

    select
        contact_id,
        on_date,
        active_days,
        0 as features
    from {{ seen_in_days('usage_daily', 'contact_id', 'usage_date', 'usage_date', 28, 'active_days') }} as day_changes

    union all

    select
        contact_id,
        on_date,
        0 as active_days,
        features
    from {{ seen_in_days('features_used', 'contact_id', 'feature', 'usage_date', 28, 'features') }} as feature_changes

),

by_day as (

    select
        contact_id,
        on_date,
        sum(active_days) as active_days,
        sum(features) as features
    from changes
    where on_date <= {{ as_of_date() }}
    group by
        contact_id,
        on_date

),

levels as (

    select
        contact_id,
        on_date,
        sum(active_days) over (
            partition by contact_id
            order by on_date
            rows between unbounded preceding and current row
        ) as active_days_28d,
        sum(features) over (
            partition by contact_id
            order by on_date
            rows between unbounded preceding and current row
        ) as features_28d
    from by_day

),

opened as (

    select
        customers.customer_id,
        crossed.contact_id,
        '' as subject,
        crossed.opened_date
    from {{ crossed_days(
        'levels', 'contact_id', 'on_date',
        'active_days_28d >= ' ~ threshold('champion_min_active_days')
        ~ ' and features_28d >= ' ~ threshold('champion_min_features'),
        'active_days_28d <= ' ~ threshold('champion_exit_active_days'),
        begins_closed=true
    ) }} as crossed
    inner join contacts
        on crossed.contact_id = contacts.contact_id
    inner join customers
        on contacts.customer_id = customers.customer_id
    where
        {{ is_candidate('crossed.opened_date') }}
        and customers.journey_stage in ('adoption', 'growth')

),

identified as (

    select * from {{ episodes('champion_earned', 'opened') }} as known_episodes

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
            "'Active on '",
            'cast(levels.active_days_28d as integer)',
            "' of 28 days, '",
            'cast(levels.features_28d as integer)',
            "' features'",
        ]) }} as reason,
        customers.customer_name,
        customers.industry,
        cast(levels.active_days_28d as integer) as active_days_28d,
        cast(levels.features_28d as integer) as features_28d
    from identified
    inner join levels
        on
            identified.contact_id = levels.contact_id
            and identified.opened_date = levels.on_date
    inner join contacts
        on identified.contact_id = contacts.contact_id
    inner join customers
        on identified.customer_id = customers.customer_id

),

final as (

    select * from {{ advised('described', 'champions', ['industry']) }} as advised_rows

)

select * from final
