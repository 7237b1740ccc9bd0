-- A week after the start hardly anybody has worked in the product: send help to the people who set it up.
-- One episode per start of a subscription spell and contact.
{{ config(meta={"sync": {
    "kind": "trigger",
    "channel": "automation",
    "key": "event_id",
}}) }}

with

journey as (

    select * from {{ ref('customer_journey') }}

),

subscribed as (

    select * from {{ ref('int_customers__subscribed') }}

),

customers as (

    select * from {{ ref('customers') }}

),

contacts as (

    select * from {{ ref('contacts') }}

),

usage_daily as (

    select * from {{ ref('int_usage__daily') }}

),

started as (

    select
        journey.customer_id,
        cast(subscribed.live_since as date) as start_date,
        cast(
            {{ dbt.dateadd(
                'day',
                'cast(' ~ threshold('low_usage_check_day') ~ ' as integer)',
                'subscribed.live_since'
            ) }} as date
        ) as check_date
    from journey
    inner join subscribed
        on journey.customer_id = subscribed.customer_id
    where journey.journey_stage in ('presales', 'onboarding')

),

first_week as (

    select
        started.customer_id,
        started.start_date,
        started.check_date,
        count(distinct usage_daily.usage_date) as active_days
    from started
    left join usage_daily
        on
            started.customer_id = usage_daily.customer_id
            and usage_daily.usage_date >= started.start_date
            and usage_daily.usage_date < started.check_date
    where {{ is_candidate('started.check_date') }}
    group by
        started.customer_id,
        started.start_date,
        started.check_date

),

opened as (

    select
        first_week.*,
        contacts.contact_id,
        '' as subject,
        first_week.check_date as opened_date
    from first_week
    inner join contacts
        on first_week.customer_id = contacts.customer_id
    where
        first_week.active_days <= {{ threshold('low_usage_max_active_days') }}
        and contacts.role in ('admin', 'operator')

),

identified as (

    select * from {{ episodes('onboarding_low_usage', 'opened') }} as known_episodes

),

final as (

    select
        identified.event_id,
        identified.customer_id,
        identified.contact_id,
        identified.subject,
        contacts.email,
        contacts.language,
        cast(identified.opened_date as {{ dbt.type_timestamp() }}) as occurred_at,
        {{ sentence([
            "'Active on '",
            'cast(identified.active_days as integer)',
            "' of 7 days, begun on '",
            'cast(identified.start_date as date)',
        ]) }} as reason,
        customers.customer_name,
        cast(identified.active_days as integer) as active_days_7d,
        {{ days_between('identified.start_date', as_of_date()) }} as days_since_start
    from identified
    inner join customers
        on identified.customer_id = customers.customer_id
    inner join contacts
        on identified.contact_id = contacts.contact_id

)

select * from final
