-- What each subscription is worth in a month, in the reporting currency, and when it is alive and paid.
with

subscriptions as (

    select * from {{ ref('stg_stripe__subscriptions') }}

),

subscription_items as (

    select * from {{ ref('stg_stripe__subscription_items') }}

),

monthly_prices as (

    select * from {{ ref('int_prices__monthly') }}

),

priced_items as (

    select
        subscription_items.subscription_id,
        min(monthly_prices.plan_name) as plan_name,
        min(monthly_prices.billing_interval) as billing_interval,
        sum(subscription_items.quantity) as seats,
        -- to six digits first, so that the last bit of a division never decides about a cent; below nothing, or more than
        -- anybody pays, is a mistake upstream
        cast(cast(
            coalesce(sum(case
                when
                    subscription_items.quantity > 0
                    and subscription_items.quantity * monthly_prices.monthly_amount between 0 and {{ threshold('believable_item_mrr') }}
                    then subscription_items.quantity * monthly_prices.monthly_amount
            end), 0)
            as decimal(18, 6)
        ) as decimal(18, 2)) as monthly_amount
    from subscription_items
    inner join monthly_prices
        on subscription_items.price_id = monthly_prices.price_id
    group by subscription_items.subscription_id

),

final as (

    select
        subscriptions.subscription_id,
        subscriptions.stripe_customer_id as customer_id,
        subscriptions.status,
        priced_items.plan_name,
        priced_items.billing_interval,
        coalesce(priced_items.seats, subscriptions.seats, 0) as seats,
        subscriptions.status in ('trialing', 'active', 'past_due') as is_live,
        subscriptions.is_cancelled_at_period_end,
        cast(
            case
                when subscriptions.status in ('active', 'past_due') then coalesce(priced_items.monthly_amount, 0)
                else 0
            end as decimal(18, 2)
        ) as mrr,
        subscriptions.started_at,
        -- a trial that ended without a paid day was never paid; Stripe pauses one that ends without a card
        case
            when subscriptions.status in ('trialing', 'incomplete', 'incomplete_expired', 'paused') then null
            when subscriptions.trial_ended_at is null then subscriptions.started_at
            when subscriptions.ended_at <= subscriptions.trial_ended_at then null
            else subscriptions.trial_ended_at
        end as paid_from,
        subscriptions.period_ends_at,
        subscriptions.cancelled_at,
        case
            when subscriptions.status in ('trialing', 'active', 'past_due') then null
            else coalesce(subscriptions.ended_at, subscriptions.valid_from)
        end as ended_at
    from subscriptions
    left join priced_items
        on subscriptions.subscription_id = priced_items.subscription_id

)

select * from final
