-- Somebody at work in the product has not said for long how likely they are to recommend it: ask.
-- One episode per due day and person: survey_first_after_days after their first use, then survey_interval_days after
-- their last answer, and as long again after a question that was left unanswered.
{{ config(meta={"sync": {
    "kind": "trigger",
    "channel": "email",
    "key": "event_id",
    "template": "survey_due",
}}) }}

with

contact_usage as (

    select * from {{ ref('int_contacts__used') }}

),

answers as (

    select * from {{ ref('int_survey_answers__attributed') }}

),

contacts as (

    select * from {{ ref('contacts') }}

),

customers as (

    select * from {{ ref('customers') }}

),

answered as (

    select
        contact_id,
        max(answered_date) as last_answered_date
    from answers
    where
        survey = 'nps'
        and contact_id is not null
    group by contact_id

),

first_due as (

    select
        contact_usage.contact_id,
        case
            when answered.last_answered_date is not null
                then {{ days_before('answered.last_answered_date', '-1 * cast(' ~ threshold('survey_interval_days') ~ ' as integer)') }}
            else {{ days_before('contact_usage.first_active_at', '-1 * cast(' ~ threshold('survey_first_after_days') ~ ' as integer)') }}
        end as first_due_date
    from contact_usage
    left join answered
        on contact_usage.contact_id = answered.contact_id

),

-- the last of the days on which it was due, each an interval after the one before
due as (

    select
        contact_id,
        {{ days_before(
            'first_due_date',
            '-1 * cast(floor(' ~ days_between('first_due_date', as_of_date()) ~ ' / ' ~ threshold('survey_interval_days') ~ ') * '
            ~ threshold('survey_interval_days') ~ ' as integer)'
        ) }} as opened_date
    from first_due
    where first_due_date <= {{ as_of_date() }}

),

opened as (

    select
        customers.customer_id,
        due.contact_id,
        '' as subject,
        due.opened_date
    from due
    inner join contacts
        on due.contact_id = contacts.contact_id
    inner join customers
        on contacts.customer_id = customers.customer_id
    where
        {{ is_candidate('due.opened_date') }}
        and customers.journey_stage in ('onboarding', 'adoption', 'growth')
        and contacts.last_active_at > {{ dbt.dateadd('day', -28, 'cast(due.opened_date as ' ~ dbt.type_timestamp() ~ ')') }}

),

identified as (

    select * from {{ episodes('survey_due', 'opened') }} as known_episodes

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
            "'Was not asked how likely they are to recommend us for long, due on '",
            'identified.opened_date',
        ]) }} as reason,
        customers.customer_name
    from identified
    inner join contacts
        on identified.contact_id = contacts.contact_id
    inner join customers
        on identified.customer_id = customers.customer_id

),

final as (

    select * from {{ advised('described', 'survey') }} as advised_rows

)

select * from final
