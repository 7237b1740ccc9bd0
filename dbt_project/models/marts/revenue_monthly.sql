-- Monthly recurring revenue of the whole base: where it started, what moved it, where it ended, and what was kept.
with

customer_months as (

    select * from {{ ref('int_customer_months__summed') }}

),

movements as (

    select * from {{ ref('mrr_movements') }}

),

months as (

    select * from {{ ref('int_revenue_months') }}

),

summed as (

    select
        customer_months.month,
        sum(customer_months.start_mrr) as start_mrr,
        sum(customer_months.end_mrr) as end_mrr,
        sum(customer_months.end_mrr_at_month_end_rates) as end_mrr_at_month_end_rates,
        sum(case when customer_months.start_mrr > 0 then 1 else 0 end) as customers_at_start,
        sum(case when customer_months.end_mrr > 0 then 1 else 0 end) as customers_at_end,
        -- the cohort is closed: who had revenue a year before, whatever became of them
        sum(customer_months.end_mrr_12_months_before) as cohort_mrr,
        sum(case when customer_months.end_mrr_12_months_before > 0 then customer_months.end_mrr else 0 end) as cohort_end_mrr,
        sum(
            case
                when customer_months.end_mrr < customer_months.end_mrr_12_months_before then customer_months.end_mrr
                else customer_months.end_mrr_12_months_before
            end
        ) as cohort_kept_mrr
    from customer_months
    group by customer_months.month

),

moved as (

    select
        movements.month,
        coalesce(sum(case when movements.movement = 'new' then movements.mrr_change end), 0) as new_mrr,
        coalesce(sum(case when movements.movement = 'expansion' then movements.mrr_change end), 0) as expansion_mrr,
        coalesce(sum(case when movements.movement = 'reactivation' then movements.mrr_change end), 0) as reactivation_mrr,
        coalesce(sum(case when movements.movement = 'contraction' then movements.mrr_change end), 0) as contraction_mrr,
        coalesce(sum(case when movements.movement = 'churn' then movements.mrr_change end), 0) as churn_mrr,
        sum(case when movements.movement = 'new' then 1 else 0 end) as customers_new,
        sum(case when movements.movement = 'reactivation' then 1 else 0 end) as customers_reactivated,
        sum(case when movements.movement = 'churn' then 1 else 0 end) as customers_churned
    from movements
    group by movements.month

),

combined as (

    select
        summed.*,
        months.is_complete,
        coalesce(moved.new_mrr, 0) as new_mrr,
        coalesce(moved.expansion_mrr, 0) as expansion_mrr,
        coalesce(moved.reactivation_mrr, 0) as reactivation_mrr,
        coalesce(moved.contraction_mrr, 0) as contraction_mrr,
        coalesce(moved.churn_mrr, 0) as churn_mrr,
        coalesce(moved.customers_new, 0) as customers_new,
        coalesce(moved.customers_reactivated, 0) as customers_reactivated,
        coalesce(moved.customers_churned, 0) as customers_churned
    from summed
    inner join months
        on summed.month = months.month
    left join moved
        on summed.month = moved.month

),

final as (

    select
        month,
        is_complete,
        ---------- revenue
        cast(start_mrr as decimal(18, 2)) as start_mrr,
        cast(new_mrr as decimal(18, 2)) as new_mrr,
        cast(expansion_mrr as decimal(18, 2)) as expansion_mrr,
        cast(reactivation_mrr as decimal(18, 2)) as reactivation_mrr,
        cast(contraction_mrr as decimal(18, 2)) as contraction_mrr,
        cast(churn_mrr as decimal(18, 2)) as churn_mrr,
        cast(end_mrr as decimal(18, 2)) as end_mrr,
        cast(end_mrr_at_month_end_rates as decimal(18, 2)) as end_mrr_at_month_end_rates,
        ---------- retention
        cast({{ ratio('start_mrr + expansion_mrr - contraction_mrr - churn_mrr', 'start_mrr') }} as decimal(18, 4)) as nrr_month,
        cast({{ ratio('start_mrr - contraction_mrr - churn_mrr', 'start_mrr') }} as decimal(18, 4)) as grr_month,
        cast({{ ratio('cohort_end_mrr', 'cohort_mrr') }} as decimal(18, 4)) as nrr_12m,
        cast({{ ratio('cohort_kept_mrr', 'cohort_mrr') }} as decimal(18, 4)) as grr_12m,
        ---------- customers
        cast(customers_at_start as integer) as customers_at_start,
        cast(customers_new as integer) as customers_new,
        cast(customers_reactivated as integer) as customers_reactivated,
        cast(customers_churned as integer) as customers_churned,
        cast(customers_at_end as integer) as customers_at_end,
        cast({{ ratio('customers_churned', 'customers_at_start') }} as decimal(18, 4)) as logo_churn,
        '{{ var("reporting_currency") }}' as mrr_currency
    from combined

)

select * from final
