{#
    A measure over what a customer used in a window of days up to each scored day. `value` is an aggregate over
    `usage_daily` (the usage in the window) and `customer_days` (the day, the seats bought).
#}
{% macro usage_measure(value, days) -%}
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

final as (

    select
        customer_days.customer_id,
        customer_days.as_of_date,
        {{ value }} as raw_value
    from customer_days
    inner join heard
        on customer_days.as_of_date = heard.as_of_date
    left join usage_daily
        on
            customer_days.customer_id = usage_daily.customer_id
            and usage_daily.usage_date <= customer_days.as_of_date
            and usage_daily.usage_date > {{ days_before('customer_days.as_of_date', days) }}
    group by
        customer_days.customer_id,
        customer_days.as_of_date

)

select * from final
{%- endmacro %}
