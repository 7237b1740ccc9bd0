-- Tickets about defects (incidents and problems) that the customer opened in the last 60 days. Questions do not count:
-- people who ask are people who try.
with

customer_days as (

    select * from {{ ref('int_customer_days__live') }}

),

tickets as (

    select * from {{ ref('int_tickets__attributed') }}

),

final as (

    select
        customer_days.customer_id,
        customer_days.as_of_date,
        count(tickets.ticket_id) as raw_value
    from customer_days
    left join tickets
        on
            customer_days.customer_id = tickets.customer_id
            and tickets.ticket_kind in ('incident', 'problem')
            and tickets.created_date <= customer_days.as_of_date
            and tickets.created_date > {{ days_before('customer_days.as_of_date', 60) }}
    group by
        customer_days.customer_id,
        customer_days.as_of_date

)

select * from final
