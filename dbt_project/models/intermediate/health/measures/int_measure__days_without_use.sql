-- Days since anybody at the customer worked in the product, or since the start where nobody did; at most 90.
{%- set used -%}
    (
        select distinct customer_id, known_date as on_date
        from {{ ref('int_usage__daily') }}
        where customer_id is not null and known_date > {{ days_before(first_scored_day(), 90) }}
    )
{%- endset %}
with

customer_days as (

    select * from {{ ref('int_customer_days') }}

),

last_used as (

    select * from {{ last_day_of(used) }} as last_days

),

final as (

    select
        customer_days.customer_id,
        customer_days.as_of_date,
        cast(least(90, {{ days_between(
            'greatest(cast(customer_days.live_from as date), coalesce(last_used.last_date, cast(customer_days.live_from as date)))',
            'customer_days.as_of_date'
        ) }}) as double precision) as raw_value,
        customer_days.product_usage_age_days as age_days
    from customer_days
    inner join last_used
        on
            customer_days.customer_id = last_used.customer_id
            and customer_days.as_of_date = last_used.as_of_date

)

select * from final
