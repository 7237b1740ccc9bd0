-- Reactions to mail and visits to the website both fell to half of a quarter before: the success manager should ask what
-- has changed, by another way than mail.
-- One episode per fading: over when either is back at loyalty_recovered_share of a quarter before.
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
        mail_engagement_raw,
        site_visits_raw
    from {{ ref('int_customer_days__measured') }}
    where
        rules_version = {{ rules_version() }}
        and as_of_date <= {{ as_of_date() }}
        and as_of_date > {{ days_before(as_of_date(), 270) }}

),

customers as (

    select * from {{ ref('customers') }}

),

touch_plan as (

    select * from {{ ref('customer_touch_plan') }}

),

-- days that can be compared with a quarter before
compared as (

    select
        today.customer_id,
        today.as_of_date,
        today.mail_engagement_raw,
        today.site_visits_raw,
        quarter_ago.mail_engagement_raw as mail_engagement_before,
        quarter_ago.site_visits_raw as site_visits_before
    from measured as today
    inner join measured as quarter_ago
        on
            today.customer_id = quarter_ago.customer_id
            and quarter_ago.as_of_date = {{ days_before('today.as_of_date', 90) }}
    where
        quarter_ago.mail_engagement_raw > 0
        and quarter_ago.site_visits_raw > 0

),

opened as (

    select
        crossed.customer_id,
        cast(null as {{ dbt.type_string() }}) as contact_id,
        '' as subject,
        crossed.opened_date
    from {{ crossed_days(
        'compared', 'customer_id', 'as_of_date',
        'mail_engagement_raw <= ' ~ threshold('loyalty_fade_share') ~ ' * mail_engagement_before'
        ~ ' and site_visits_raw <= ' ~ threshold('loyalty_fade_share') ~ ' * site_visits_before',
        'mail_engagement_raw >= ' ~ threshold('loyalty_recovered_share') ~ ' * mail_engagement_before'
        ~ ' or site_visits_raw >= ' ~ threshold('loyalty_recovered_share') ~ ' * site_visits_before',
        begins_closed=true
    ) }} as crossed
    inner join customers
        on crossed.customer_id = customers.customer_id
    where
        {{ is_candidate('crossed.opened_date') }}
        and customers.journey_stage <> 'churned'

),

identified as (

    select * from {{ episodes('loyalty_sinking', 'opened') }} as known_episodes

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
            "'Reads and visits half as much as a quarter before; '",
            'touch_plan.drivers_en',
        ]) }} as reason,
        customers.customer_name,
        customers.journey_stage,
        touch_plan.human_touch,
        touch_plan.drivers_en as reason_en,
        touch_plan.drivers_ja as reason_ja
    from identified
    inner join customers
        on identified.customer_id = customers.customer_id
    inner join touch_plan
        on identified.customer_id = touch_plan.customer_id

)

select * from final
