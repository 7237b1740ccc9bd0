-- The next step of the set-up has not been taken for too long after the one before: send the lesson for that very step.
-- One episode per step and contact, opened when its days (seeds/rules/onboarding_steps.csv) are over.
{{ config(meta={"sync": {
    "kind": "trigger",
    "channel": "email",
    "key": "event_id",
    "template": "onboarding_step_stuck",
}}) }}

with

steps as (

    select * from {{ ref('onboarding_steps') }}

),

customers as (

    select * from {{ ref('customers') }}

),

subscribed as (

    select * from {{ ref('int_customers__subscribed') }}

),

feature_adoption as (

    select * from {{ ref('feature_adoption') }}

),

contacts as (

    select * from {{ ref('contacts') }}

),

-- every step of who is being set up, and when it was taken
walked as (

    select
        customers.customer_id,
        steps.feature,
        steps.step_order,
        steps.stuck_after_days,
        feature_adoption.feature_name_en,
        feature_adoption.feature_name_ja,
        cast(subscribed.live_since as date) as start_date,
        cast(feature_adoption.first_used_at as date) as taken_date,
        -- the last step before it, or the start
        max(cast(feature_adoption.first_used_at as date)) over (
            partition by customers.customer_id
            order by steps.step_order
            rows between unbounded preceding and 1 preceding
        ) as previous_date
    from customers
    cross join steps
    inner join subscribed
        on customers.customer_id = subscribed.customer_id
    inner join feature_adoption
        on
            customers.customer_id = feature_adoption.customer_id
            and steps.feature = feature_adoption.feature
    where customers.journey_stage in ('presales', 'onboarding')

),

-- the first that was not taken is the one they stand before
ranked as (

    select
        walked.*,
        row_number() over (
            partition by customer_id
            order by step_order
        ) as open_rank
    from walked
    where taken_date is null

),

stuck as (

    select
        ranked.*,
        {{ days_before('greatest(start_date, coalesce(previous_date, start_date))', '-1 * stuck_after_days') }} as opened_date
    from ranked
    where open_rank = 1

),

opened as (

    select
        stuck.*,
        contacts.contact_id,
        stuck.feature as subject
    from stuck
    inner join contacts
        on stuck.customer_id = contacts.customer_id
    where
        {{ is_candidate('stuck.opened_date') }}
        and contacts.role in ('admin', 'operator')

),

identified as (

    select * from {{ episodes('onboarding_step_stuck', 'opened') }} as known_episodes

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
        {{ sentence(["'Has not taken the step '", 'identified.feature_name_en', "' in time'"]) }} as reason,
        customers.customer_name,
        identified.feature,
        case contacts.language when 'ja' then identified.feature_name_ja else identified.feature_name_en end as feature_name
    from identified
    inner join contacts
        on identified.contact_id = contacts.contact_id
    inner join customers
        on identified.customer_id = customers.customer_id

),

final as (

    select * from {{ advised('described', 'onboarding_step', ['feature']) }} as advised_rows

)

select * from final
