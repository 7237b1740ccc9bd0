-- A trial ends in a few days and nothing was decided yet: tell those who decide what happens then.
-- One episode per trial and contact, opened trial_ending_days before its end.
{{ config(meta={"sync": {
    "kind": "trigger",
    "channel": "email",
    "key": "event_id",
    "template": "trial_ending",
}}) }}

with

subscriptions as (

    select * from {{ ref('stg_stripe__subscriptions') }}

),

customers as (

    select * from {{ ref('customers') }}

),

contacts as (

    select * from {{ ref('contacts') }}

),

trials as (

    select
        customers.customer_id,
        subscriptions.subscription_id as subject,
        cast(subscriptions.trial_ended_at as date) as trial_end_date,
        {{ days_before('subscriptions.trial_ended_at', 'cast(' ~ threshold('trial_ending_days') ~ ' as integer)') }} as opened_date
    from subscriptions
    inner join customers
        on subscriptions.stripe_customer_id = customers.customer_id
    where
        subscriptions.status = 'trialing'
        and not subscriptions.is_cancelled_at_period_end
        and cast(subscriptions.trial_ended_at as date) >= {{ as_of_date() }}

),

opened as (

    select
        trials.customer_id,
        contacts.contact_id,
        trials.subject,
        trials.opened_date,
        trials.trial_end_date
    from trials
    inner join contacts
        on trials.customer_id = contacts.customer_id
    where
        {{ is_candidate('trials.opened_date') }}
        and contacts.role in ('decision_maker', 'admin')

),

identified as (

    select * from {{ episodes('trial_ending', 'opened') }} as known_episodes

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
        {{ sentence(["'The trial ends on '", 'identified.trial_end_date']) }} as reason,
        customers.customer_name,
        identified.trial_end_date,
        customers.first_value_at is not null as has_reached_first_value
    from identified
    inner join contacts
        on identified.contact_id = contacts.contact_id
    inner join customers
        on identified.customer_id = customers.customer_id

),

final as (

    select * from {{ advised('described', 'trial') }} as advised_rows

)

select * from final
