-- Tickets about defects (incidents and problems) that the customer opened in the last 60 days. Questions do not count:
-- people who ask are people who try.
{% set defects = "(select * from " ~ ref('int_tickets__attributed') ~ " where ticket_kind in ('incident', 'problem'))" %}
{% set totals = running_totals(summed_in_days(defects, 'created_date', {'counted': '1'}, 60), ['counted']) %}
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
        cast(totals.counted as double precision) as raw_value,
        customer_days.support_age_days as age_days
    from customer_days
    inner join totals
        on
            customer_days.customer_id = totals.customer_id
            and customer_days.as_of_date = totals.as_of_date

)

select * from final
