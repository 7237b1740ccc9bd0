-- Key features that the customer used in the last 28 days.
{% set counted = running_totals(used_in_days('feature', 28, 'is_key_feature'), ['counted']) %}
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
        customer_days.product_usage_age_days as age_days
    from customer_days
    inner join counted
        on
            customer_days.customer_id = counted.customer_id
            and customer_days.as_of_date = counted.as_of_date

)

select * from final
