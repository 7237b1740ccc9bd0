-- Each day on which a customer had a live subscription, with what was sold to them.
with

days as (

    select * from {{ ref('int_days') }}

),

subscriptions as (

    select * from {{ ref('int_subscriptions__priced') }}

),

customers as (

    select * from {{ ref('int_customers__identified') }}

),

final as (

    select
        customers.customer_id,
        days.as_of_date,
        min(cast(subscriptions.started_at as date)) as live_since_date,
        sum(subscriptions.seats) as seats_bought
    from days
    inner join subscriptions
        on
            cast(subscriptions.started_at as date) <= days.as_of_date
            and (subscriptions.ended_at is null or cast(subscriptions.ended_at as date) > days.as_of_date)
    inner join customers
        on subscriptions.customer_id = customers.customer_id
    group by
        customers.customer_id,
        days.as_of_date

)

select * from final
