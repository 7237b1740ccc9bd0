-- How much the customer does in the product: the log of its uses in the last 28 days for each seat bought.
{% set known = "(select * from " ~ ref('int_usage__daily') ~ " where customer_id is not null)" %}
{% set totals = running_totals(summed_in_days(known, 'known_date', {'uses': 'uses'}, 28), ['uses']) %}
with

customer_days as (

    select * from {{ ref('int_customer_days') }}

),

totals as (

    select * from {{ totals }} as running

),

final as (

    select
        customer_days.customer_id,
        customer_days.as_of_date,
        ln(1 + {{ ratio('totals.uses', 'customer_days.seats_bought') }}) as raw_value,
        customer_days.product_usage_age_days as age_days
    from customer_days
    inner join totals
        on
            customer_days.customer_id = totals.customer_id
            and customer_days.as_of_date = totals.as_of_date

)

select * from final
