-- Contacts active in the last 90 days as a share of the seats bought: seats that are used at all.
{% set counted = running_totals(used_in_days('contact_id', 90), ['counted']) %}
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
        {{ ratio('counted.counted', 'customer_days.seats_bought') }} as raw_value,
        customer_days.product_usage_age_days as age_days
    from customer_days
    inner join counted
        on
            customer_days.customer_id = counted.customer_id
            and customer_days.as_of_date = counted.as_of_date

)

select * from final
