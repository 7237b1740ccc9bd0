-- Whether first value was reached: 1 from the day on which the first such event was known, else 0.
{%- set reached -%}
    (
        select distinct customer_id, known_date as on_date
        from {{ ref('int_usage__daily') }}
        where customer_id is not null and is_first_value and uses > 0
    )
{%- endset %}
with

customer_days as (

    select * from {{ ref('int_customer_days') }}

),

last_reached as (

    select * from {{ last_day_of(reached) }} as last_days

),

final as (

    select
        customer_days.customer_id,
        customer_days.as_of_date,
        cast(case when last_reached.last_date is null then 0 else 1 end as double precision) as raw_value,
        case when last_reached.last_date is null then customer_days.product_usage_age_days else 0 end as age_days
    from customer_days
    inner join last_reached
        on
            customer_days.customer_id = last_reached.customer_id
            and customer_days.as_of_date = last_reached.as_of_date

)

select * from final
