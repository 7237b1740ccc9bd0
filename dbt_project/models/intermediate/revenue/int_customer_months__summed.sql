-- A customer's MRR at the start and the end of every month from its first paid one on, the months without any too.
with

subscription_months as (

    select * from {{ ref('int_subscription_months__priced') }}

),

months as (

    select * from {{ ref('int_revenue_months') }}

),

paid as (

    select
        customer_id,
        month,
        cast(sum(mrr) as decimal(18, 2)) as mrr,
        cast(sum(mrr_at_month_end_rates) as decimal(18, 2)) as mrr_at_month_end_rates
    from subscription_months
    group by
        customer_id,
        month

),

first_paid as (

    select
        customer_id,
        min(month) as first_paid_month
    from paid
    where mrr > 0
    group by customer_id

),

ended as (

    select
        first_paid.customer_id,
        first_paid.first_paid_month,
        months.month,
        coalesce(paid.mrr, 0) as end_mrr,
        coalesce(paid.mrr_at_month_end_rates, 0) as end_mrr_at_month_end_rates
    from first_paid
    inner join months
        on first_paid.first_paid_month <= months.month
    left join paid
        on
            first_paid.customer_id = paid.customer_id
            and months.month = paid.month

),

final as (

    select
        customer_id,
        month,
        first_paid_month,
        cast(coalesce(lag(end_mrr) over (
            partition by customer_id
            order by month
        ), 0) as decimal(18, 2)) as start_mrr,
        cast(end_mrr as decimal(18, 2)) as end_mrr,
        cast(end_mrr_at_month_end_rates as decimal(18, 2)) as end_mrr_at_month_end_rates,
        -- no month is missing, so twelve rows before is twelve months before
        cast(coalesce(lag(end_mrr, 12) over (
            partition by customer_id
            order by month
        ), 0) as decimal(18, 2)) as end_mrr_12_months_before
    from ended

)

select * from final
