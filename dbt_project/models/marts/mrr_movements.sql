-- How a customer's monthly recurring revenue moved from one month's end to the next.
with

customer_months as (

    select * from {{ ref('int_customer_months__summed') }}

),

final as (

    select
        customer_id,
        month,
        case
            when month = first_paid_month then 'new'
            when start_mrr = 0 then 'reactivation'
            when end_mrr = 0 then 'churn'
            when end_mrr > start_mrr then 'expansion'
            else 'contraction'
        end as movement,
        cast(abs(end_mrr - start_mrr) as decimal(18, 2)) as mrr_change,
        cast(start_mrr as decimal(18, 2)) as start_mrr,
        cast(end_mrr as decimal(18, 2)) as end_mrr
    from customer_months
    where end_mrr <> start_mrr

)

select * from final
