-- The person who carried the product at a customer has not worked in it for weeks: the success manager should find out
-- who carries it now.
-- One episode per silence: it opens at sponsor_quiet_days and is over when the sponsor was there in sponsor_back_days.
{{ config(meta={"sync": {
    "kind": "trigger",
    "channel": "owner_alert",
    "key": "event_id",
    "object": "customer",
}}) }}

with

measured as (

    select
        customer_id,
        as_of_date,
        champion_silence_raw
    from {{ ref('int_customer_days__measured') }}
    where
        rules_version = {{ rules_version() }}
        and as_of_date <= {{ as_of_date() }}
        and as_of_date > {{ days_before(as_of_date(), 180) }}
        and champion_silence_raw is not null

),

usage_daily as (

    select * from {{ ref('int_usage__daily') }}

),

contacts as (

    select * from {{ ref('contacts') }}

),

customers as (

    select * from {{ ref('customers') }}

),

opened as (

    select
        crossed.customer_id,
        cast(null as {{ dbt.type_string() }}) as contact_id,
        '' as subject,
        crossed.opened_date
    from {{ crossed_days(
        'measured', 'customer_id', 'as_of_date',
        'champion_silence_raw >= ' ~ threshold('sponsor_quiet_days'),
        'champion_silence_raw <= ' ~ threshold('sponsor_back_days'),
        begins_closed=true
    ) }} as crossed
    inner join customers
        on crossed.customer_id = customers.customer_id
    where
        {{ is_candidate('crossed.opened_date') }}
        and customers.journey_stage <> 'churned'

),

identified as (

    select * from {{ episodes('sponsor_went_quiet', 'opened') }} as known_episodes

),

-- the sponsor as the measure means it: most active days in the three months before the one in which it opened
ranked as (

    select
        identified.event_id,
        usage_daily.contact_id,
        row_number() over (
            partition by identified.event_id
            order by count(distinct usage_daily.known_date) desc, max(usage_daily.known_date) desc, usage_daily.contact_id
        ) as activity_rank
    from identified
    inner join usage_daily
        on
            identified.customer_id = usage_daily.customer_id
            and usage_daily.contact_id is not null
            and usage_daily.known_date < cast({{ dbt.date_trunc('month', 'identified.opened_date') }} as date)
            and usage_daily.known_date >= cast({{ dbt.dateadd('month', -3, dbt.date_trunc('month', 'identified.opened_date')) }} as date)
    group by
        identified.event_id,
        usage_daily.contact_id

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
            "'No sign of the sponsor for '",
            'cast(measured.champion_silence_raw as integer)',
            "' days'",
        ]) }} as reason,
        customers.customer_name,
        customers.journey_stage,
        contacts.full_name as sponsor_name,
        contacts.role as sponsor_role,
        cast(measured.champion_silence_raw as integer) as days_quiet
    from identified
    inner join measured
        on
            identified.customer_id = measured.customer_id
            and identified.opened_date = measured.as_of_date
    inner join customers
        on identified.customer_id = customers.customer_id
    left join ranked
        on
            identified.event_id = ranked.event_id
            and ranked.activity_rank = 1
    left join contacts
        on ranked.contact_id = contacts.contact_id

)

select * from final
