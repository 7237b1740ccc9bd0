-- Days in the last 28 on which known contacts of the customer visited the website.
{%- set visits -%}
    (
        select distinct customer_id, cast(occurred_at as date) as thing, cast(occurred_at as date) as on_date
        from {{ ref('int_page_views__attributed') }}
        where customer_id is not null
    )
{%- endset %}
with

customer_days as (

    select * from {{ ref('int_customer_days') }}

),

counted as (

    select * from {{ running_totals(distinct_in_days(visits, 28), ['counted']) }} as running

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
