-- The health of a customer came into the risk band: its success manager takes over, with what to do.
-- One episode per time in risk: it opens with the first day there, and is over risk_exit_points above the band.
{{ config(meta={"sync": {
    "kind": "trigger",
    "channel": "owner_alert",
    "key": "event_id",
    "object": "customer",
}}) }}

with

history as (

    select *
    from {{ ref('customer_health_history') }}
    where
        rules_version = {{ rules_version() }}
        and as_of_date <= {{ as_of_date() }}
        and as_of_date > {{ days_before(as_of_date(), 180) }}

),

-- the band above risk begins where risk ends
watch as (

    select min(min_score) as min_score
    from {{ ref('health_bands') }}
    where band <> 'risk'

),

customers as (

    select * from {{ ref('customers') }}

),

touch_plan as (

    select * from {{ ref('customer_touch_plan') }}

),

-- a day without a score says nothing of risk
scored as (

    select
        history.customer_id,
        history.as_of_date,
        history.health_score,
        history.health_band,
        watch.min_score as watch_min_score
    from history
    cross join watch
    where history.health_score is not null

),

opened as (

    select
        crossed.customer_id,
        cast(null as {{ dbt.type_string() }}) as contact_id,
        '' as subject,
        crossed.opened_date
    from {{ crossed_days(
        'scored', 'customer_id', 'as_of_date',
        "health_band = 'risk'",
        'health_score >= watch_min_score + ' ~ threshold('risk_exit_points'),
        begins_closed=true
    ) }} as crossed
    where {{ is_candidate('crossed.opened_date') }}

),

identified as (

    select * from {{ episodes('risk_entered', 'opened') }} as known_episodes

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
            "'Health '",
            'scored.health_score',
            "' on '",
            'identified.opened_date',
            "'; '",
            'touch_plan.drivers_en',
        ]) }} as reason,
        customers.customer_name,
        customers.journey_stage,
        scored.health_score,
        touch_plan.human_touch,
        touch_plan.drivers_en as reason_en,
        touch_plan.drivers_ja as reason_ja,
        touch_plan.action_en,
        touch_plan.action_ja
    from identified
    inner join scored
        on
            identified.customer_id = scored.customer_id
            and identified.opened_date = scored.as_of_date
    inner join customers
        on identified.customer_id = customers.customer_id
    inner join touch_plan
        on identified.customer_id = touch_plan.customer_id

)

select * from final
