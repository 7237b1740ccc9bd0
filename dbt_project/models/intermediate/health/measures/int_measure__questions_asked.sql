-- Questions asked in the last 90 days for each seat bought: a good sign, up to a point.
{% set questions = "(select * from " ~ ref('int_tickets__attributed') ~ " where ticket_kind = 'question')" %}
{% set totals = running_totals(summed_in_days(questions, 'created_date', {'counted': '1'}, 90), ['counted']) %}
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
        {{ ratio('totals.counted', 'customer_days.seats_bought') }} as raw_value,
        customer_days.support_age_days as age_days
    from customer_days
    inner join totals
        on
            customer_days.customer_id = totals.customer_id
            and customer_days.as_of_date = totals.as_of_date

)

select * from final
