-- Days in the last 28 on which known contacts of the customer visited the website.
{% set counted = running_totals(distinct_in_days(
    ref('int_page_views__attributed'), 'cast(occurred_at as date)', 'cast(occurred_at as date)', 28
), ['counted']) %}
with

customer_days as (

    select * from {{ ref('int_customer_days') }}

),

counted as (

    select * from {{ counted }} as totals

),

final as (

    select
        customer_days.customer_id,
        customer_days.as_of_date,
        cast(counted.counted as double precision) as raw_value,
        customer_days.website_age_days as age_days
    from customer_days
    inner join counted
        on
            customer_days.customer_id = counted.customer_id
            and customer_days.as_of_date = counted.as_of_date

)

select * from final
