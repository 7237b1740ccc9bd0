-- How often errors get in the way: the log of the errors of the last 28 days for each hundred uses; nothing where nothing was used.
{% set known = "(select * from " ~ ref('int_usage__daily') ~ " where customer_id is not null)" %}
{% set totals = running_totals(
    summed_in_days(known, 'known_date', {'uses': 'uses', 'errors': 'errors'}, 28), ['uses', 'errors']
) %}
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
        ln(1 + {{ ratio('100 * totals.errors', 'totals.uses') }}) as raw_value,
        customer_days.product_usage_age_days as age_days
    from customer_days
    inner join totals
        on
            customer_days.customer_id = totals.customer_id
            and customer_days.as_of_date = totals.as_of_date

)

select * from final
