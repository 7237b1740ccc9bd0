-- Invoices that were open past their due date on a day, as far as today's state of the invoice tells.
with

invoices as (

    select * from {{ ref('stg_stripe__invoices') }}

),

customers as (

    select * from {{ ref('int_customers__identified') }}

),

final as (

    select
        invoices.invoice_id,
        customers.customer_id,
        cast(coalesce(invoices.due_at, invoices.created_at) as date) as due_date
    from invoices
    inner join customers
        on invoices.stripe_customer_id = customers.customer_id
    where
        invoices.status in ('open', 'uncollectible')
        and invoices.amount_remaining_minor > 0
        and coalesce(invoices.due_at, invoices.created_at) <= {{ as_of_at() }}

)

select * from final
