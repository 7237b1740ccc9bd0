-- The spells of a customer: the times without a gap in which a subscription was live, a trial or paid.
with

versions as (

    select * from {{ ref('stg_stripe__subscription_versions') }}

),

subscriptions as (

    select * from {{ ref('stg_stripe__subscriptions') }}

),

customers as (

    select * from {{ ref('int_customers__identified') }}

),

prices as (

    select * from {{ ref('int_subscriptions__priced') }}

),

live as (

    select
        customers.customer_id,
        versions.subscription_id,
        versions.status,
        versions.valid_from as live_from,
        -- an end that is still to come is none yet
        case when versions.valid_to <= {{ as_of_at() }} then versions.valid_to end as live_to
    from versions
    inner join customers
        on versions.stripe_customer_id = customers.customer_id
    where versions.status in ('trialing', 'active', 'past_due')

),

-- what began after everything before it had ended begins a spell; renewals follow each other within a second
marked as (

    select
        live.*,
        case
            when live_from > {{ dbt.dateadd('day', '1', 'max(coalesce(live_to, ' ~ as_of_at() ~ ')) over (
                partition by customer_id
                order by live_from, subscription_id
                rows between unbounded preceding and 1 preceding
            )') }}
                then 1
            else 0
        end as begins_a_spell
    from live

),

numbered as (

    select
        marked.*,
        sum(begins_a_spell) over (
            partition by customer_id
            order by live_from, subscription_id
            rows between unbounded preceding and current row
        ) as spell_number
    from marked

),

-- the version that ended last tells how the spell ended, and its subscription the term
ranked as (

    select
        numbered.*,
        row_number() over (
            partition by customer_id, spell_number
            order by case when live_to is null then 0 else 1 end, live_to desc, live_from desc, subscription_id
        ) as recency
    from numbered

),

summed as (

    select
        customer_id,
        spell_number,
        min(live_from) as live_from,
        min(case when status in ('active', 'past_due') then live_from end) as paid_from,
        case when max(case when live_to is null then 1 else 0 end) = 0 then max(live_to) end as ended_at,
        max(case when recency = 1 then subscription_id end) as last_subscription_id,
        max(case when recency = 1 then status end) as last_status
    from ranked
    group by
        customer_id,
        spell_number

),

final as (

    select
        summed.customer_id,
        cast(summed.spell_number as integer) as spell_number,
        summed.live_from,
        summed.paid_from,
        summed.ended_at,
        case
            when summed.ended_at is null or summed.paid_from is null then null
            when summed.last_status = 'past_due' then 'involuntary'
            else 'voluntary'
        end as end_kind,
        -- notice counts from the instant at which it was given
        case when subscriptions.cancelled_at <= {{ as_of_at() }} then subscriptions.cancelled_at end as notice_at,
        cast(coalesce(customers.renewal_date, subscriptions.period_ends_at) as date) as term_anchor_date,
        cast(case
            when customers.renewal_date is not null then coalesce(customers.contract_term_months, 12)
            when prices.billing_interval = 'year' then 12
            else 1
        end as integer) as term_months
    from summed
    inner join customers
        on summed.customer_id = customers.customer_id
    left join subscriptions
        on summed.last_subscription_id = subscriptions.subscription_id
    left join prices
        on summed.last_subscription_id = prices.subscription_id

)

select * from final
