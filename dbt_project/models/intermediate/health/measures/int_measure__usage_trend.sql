-- How usage moved: the log of the events of the last 28 days over those of the 28 days before. Customers with too
-- little to compare, or who were not there for both windows, have no trend rather than a flat one.
with

customer_days as (

    select * from {{ ref('int_customer_days__live') }}

),

usage_daily as (

    select * from {{ ref('int_usage__daily') }}

),

heard as (

    select * from {{ ref('int_usage__heard') }}

),

counted as (

    select
        customer_days.customer_id,
        customer_days.as_of_date,
        sum(case
            when usage_daily.usage_date > {{ days_before('customer_days.as_of_date', 28) }} then usage_daily.uses
            else 0
        end) as uses_28d,
        sum(case
            when usage_daily.usage_date <= {{ days_before('customer_days.as_of_date', 28) }} then usage_daily.uses
            else 0
        end) as uses_28d_before
    from customer_days
    inner join heard
        on customer_days.as_of_date = heard.as_of_date
    left join usage_daily
        on
            customer_days.customer_id = usage_daily.customer_id
            and usage_daily.usage_date <= customer_days.as_of_date
            and usage_daily.usage_date > {{ days_before('customer_days.as_of_date', 56) }}
    where customer_days.live_since_date <= {{ days_before('customer_days.as_of_date', 56) }}
    group by
        customer_days.customer_id,
        customer_days.as_of_date

),

final as (

    select
        customer_id,
        as_of_date,
        ln(1 + uses_28d) - ln(1 + uses_28d_before) as raw_value
    from counted
    where uses_28d_before >= 10

)

select * from final
