-- Everything the subscriptions of a customer say together: since when, until when, how much, until which term.
with

subscriptions as (

    select * from {{ ref('int_subscriptions__priced') }}

),

customers as (

    select * from {{ ref('int_customers__identified') }}

),

summed as (

    select
        customer_id,
        min(started_at) as first_started_at,
        min(paid_from) as first_paid_at,
        max(case when is_live then 1 else 0 end) = 1 as is_live,
        max(case when is_live and status <> 'trialing' then 1 else 0 end) = 1 as is_paying,
        min(case when is_live then started_at end) as live_since,
        min(case when is_live then paid_from end) as live_paid_from,
        min(case when is_live then plan_name end) as plan_name,
        min(case when is_live then billing_interval end) as billing_interval,
        min(case when is_live then period_ends_at end) as period_ends_at,
        max(case when is_live and is_cancelled_at_period_end then 1 else 0 end) = 1 as has_given_notice,
        sum(case when is_live then seats else 0 end) as seats_bought,
        max(ended_at) as last_ended_at
    from subscriptions
    group by customer_id

),

final as (

    select
        customers.customer_id,
        summed.first_started_at,
        summed.first_paid_at,
        summed.is_live,
        summed.is_paying,
        summed.live_since,
        summed.live_paid_from,
        summed.plan_name,
        summed.billing_interval,
        summed.has_given_notice,
        case when summed.is_live then summed.seats_bought else 0 end as seats_bought,
        case when not summed.is_live then summed.last_ended_at end as ended_at,
        -- the contract says when the term ends; without one, the billing period does
        case
            when not summed.is_paying then null
            when customers.renewal_date >= {{ as_of_date() }} then customers.renewal_date
            else cast(summed.period_ends_at as date)
        end as renewal_date,
        case
            when not summed.is_paying then null
            when customers.renewal_date >= {{ as_of_date() }} then customers.contract_term_months
            when summed.billing_interval = 'year' then 12
            else 1
        end as term_months
    from customers
    inner join summed
        on customers.customer_id = summed.customer_id

)

select * from final
