-- The days on which the product's events can be trusted: a feed that stopped is not a customer who stopped.
with

usage_daily as (

    select * from {{ ref('int_usage__daily') }}

),

days as (

    select * from {{ ref('int_days') }}

),

last_heard as (

    select max(usage_date) as last_usage_date
    from usage_daily

),

final as (

    select days.as_of_date
    from days
    inner join last_heard
        on days.as_of_date <= {{ days_before('last_heard.last_usage_date', -3) }}

)

select * from final
