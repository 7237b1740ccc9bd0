-- A healthy customer has nearly filled its seats, is spread beyond its administrators, looked at upper plans and owes
-- nothing: its success manager should talk about growing. The conditions of marts.customer_signals, day by day.
-- One episode per time of readiness; over when a seat in three is free (expansion_exit_seat_use) or health is at risk.
{{ config(meta={"sync": {
    "kind": "trigger",
    "channel": "owner_alert",
    "key": "event_id",
    "object": "customer",
}}) }}

with

history as (

    select
        customer_id,
        as_of_date,
        health_band
    from {{ ref('customer_health_history') }}
    where
        rules_version = {{ rules_version() }}
        and as_of_date <= {{ as_of_date() }}
        and as_of_date > {{ days_before(as_of_date(), 180) }}

),

measured as (

    select
        customer_id,
        as_of_date,
        is_paying,
        has_given_notice,
        seat_use_raw,
        days_past_due_raw
    from {{ ref('int_customer_days__measured') }}
    where
        rules_version = {{ rules_version() }}
        and as_of_date <= {{ as_of_date() }}
        and as_of_date > {{ days_before(as_of_date(), 180) }}

),

customers as (

    select * from {{ ref('customers') }}

),

upper_plan_views as (

    select
        customer_id,
        page_view_id,
        cast(occurred_at as date) as viewed_date
    from {{ ref('int_page_views__attributed') }}
    where
        page_kind = 'upper_plan'
        and customer_id is not null
        and cast(occurred_at as date) > {{ days_before(as_of_date(), 210) }}

),

non_admins_at_work as (

    select
        usage_daily.customer_id,
        usage_daily.contact_id,
        usage_daily.usage_date
    from {{ ref('int_usage__daily') }} as usage_daily
    inner join {{ ref('contacts') }} as contacts
        on usage_daily.contact_id = contacts.contact_id
    where
        usage_daily.customer_id is not null
        and contacts.role <> 'admin'
        and usage_daily.usage_date > {{ days_before(as_of_date(), 210) }}

),

-- what comes and goes in the windows of views and people, and the days that ask
moments as (

    select
        customer_id,
        on_date,
        plan_views,
        0 as people
    from {{ seen_in_days('upper_plan_views', 'customer_id', 'page_view_id', 'viewed_date', 30, 'plan_views') }} as view_changes

    union all

    select
        customer_id,
        on_date,
        0 as plan_views,
        people
    from {{ seen_in_days('non_admins_at_work', 'customer_id', 'contact_id', 'usage_date', 28, 'people') }} as people_changes

    union all

    select
        customer_id,
        as_of_date as on_date,
        0 as plan_views,
        0 as people
    from measured

),

by_day as (

    select
        customer_id,
        on_date,
        sum(plan_views) as plan_views,
        sum(people) as people
    from moments
    group by
        customer_id,
        on_date

),

windowed as (

    select
        customer_id,
        on_date,
        sum(plan_views) over (
            partition by customer_id
            order by on_date
            rows between unbounded preceding and current row
        ) as views_30d,
        sum(people) over (
            partition by customer_id
            order by on_date
            rows between unbounded preceding and current row
        ) as non_admins_28d
    from by_day

),

levels as (

    select
        measured.*,
        history.health_band,
        windowed.views_30d,
        windowed.non_admins_28d
    from measured
    inner join history
        on
            measured.customer_id = history.customer_id
            and measured.as_of_date = history.as_of_date
    inner join windowed
        on
            measured.customer_id = windowed.customer_id
            and measured.as_of_date = windowed.on_date

),

opened as (

    select
        crossed.customer_id,
        cast(null as {{ dbt.type_string() }}) as contact_id,
        '' as subject,
        crossed.opened_date
    from {{ crossed_days(
        'levels', 'customer_id', 'as_of_date',
        "is_paying and not has_given_notice and health_band = 'healthy' and coalesce(days_past_due_raw, 0) = 0"
        ~ ' and seat_use_raw >= ' ~ threshold('expansion_min_seat_use')
        ~ ' and non_admins_28d >= ' ~ threshold('expansion_min_non_admins')
        ~ ' and views_30d >= ' ~ threshold('expansion_min_upper_plan_views'),
        "health_band = 'risk' or has_given_notice or seat_use_raw < " ~ threshold('expansion_exit_seat_use'),
        begins_closed=true
    ) }} as crossed
    where {{ is_candidate('crossed.opened_date') }}

),

identified as (

    select * from {{ episodes('expansion_ready', 'opened') }} as known_episodes

),

final as (

    select
        identified.event_id,
        identified.customer_id,
        identified.contact_id,
        identified.subject,
        customers.csm_owner_email as owner_email,
        customers.csm_owner_name as owner_name,
        cast(identified.opened_date as {{ dbt.type_timestamp() }}) as occurred_at,
        {{ sentence([
            "'Uses '",
            'customers.seats_used',
            "' of '",
            'customers.seats_bought',
            "' seats, '",
            'cast(levels.views_30d as integer)',
            "' views of upper plans in 30 days'",
        ]) }} as reason,
        customers.customer_name,
        customers.journey_stage,
        customers.plan_name,
        customers.seats_bought,
        customers.seats_used,
        cast(levels.views_30d as integer) as upper_plan_views_30d
    from identified
    inner join levels
        on
            identified.customer_id = levels.customer_id
            and identified.opened_date = levels.as_of_date
    inner join customers
        on identified.customer_id = customers.customer_id

)

select * from final
