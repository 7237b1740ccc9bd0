-- Invoices past their due date on the day.
with

customer_days as (

    select * from {{ ref('int_customer_days__live') }}

),

overdue as (

    select * from {{ ref('int_invoices__overdue') }}

),

final as (

    select
        customer_days.customer_id,
        customer_days.as_of_date,
        count(overdue.invoice_id) as raw_value
    from customer_days
    left join overdue
        on
            customer_days.customer_id = overdue.customer_id
            and overdue.due_date < customer_days.as_of_date
    group by
        customer_days.customer_id,
        customer_days.as_of_date

)

select * from final
