-- The health of a customer fell well below where it stood four weeks before: their success manager should know today.
-- One episode per fall: it opens on the first day of the drop, and is over when most of it has been made good.
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

customers as (

    select * from {{ ref('customers') }}

),

health as (

    select * from {{ ref('customer_health') }}

),

-- days that can be compared with four weeks before
compared as (

    select
        customer_id,
        as_of_date,
        health_score,
        health_change_28d
    from history
    where health_change_28d is not null

),

opened as (

    select
        crossed.customer_id,
        cast(null as {{ dbt.type_string() }}) as contact_id,
        '' as subject,
        crossed.opened_date
    from {{ crossed_days(
        'compared', 'customer_id', 'as_of_date',
        'health_change_28d <= -1 * ' ~ threshold('health_drop_points'),
        'health_change_28d > -1 * ' ~ threshold('health_drop_exit_points')
    ) }} as crossed
    where {{ is_candidate('crossed.opened_date') }}

),

identified as (

    select * from {{ episodes('health_dropped', 'opened') }} as known_episodes

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
            'compared.health_score',
            "' on '",
            'identified.opened_date',
            "', '",
            'cast(compared.health_score - compared.health_change_28d as decimal(5, 2))',
            "' 28 days before; weakest: '",
            'health.weakest_dimension_en',
        ]) }} as reason,
        customers.customer_name,
        customers.journey_stage,
        compared.health_score,
        cast(compared.health_score - compared.health_change_28d as decimal(5, 2)) as previous_health_score,
        health.weakest_dimension_en as reason_en,
        health.weakest_dimension_ja as reason_ja
    from identified
    inner join compared
        on
            identified.customer_id = compared.customer_id
            and identified.opened_date = compared.as_of_date
    inner join customers
        on identified.customer_id = customers.customer_id
    inner join health
        on identified.customer_id = health.customer_id

)

select * from final
