-- What the months say is what the movements of the customers add up to since the beginning, and each moves once a month.
{{ config(meta={"dagster": {"ref": {"name": "revenue_monthly"}}}) }}
with

revenue as (

    select * from {{ ref('revenue_monthly') }}

),

movements as (

    select * from {{ ref('mrr_movements') }}

),

signed as (

    select
        revenue.month,
        revenue.end_mrr,
        coalesce(sum(
            case when movements.movement in ('contraction', 'churn') then -1 else 1 end * movements.mrr_change
        ), 0) as moved_mrr
    from revenue
    left join movements
        on revenue.month >= movements.month
    group by
        revenue.month,
        revenue.end_mrr

),

repeated as (

    select
        customer_id,
        month
    from movements
    group by
        customer_id,
        month
    having count(*) > 1

),

final as (

    select
        month,
        'months and customers differ' as problem
    from signed
    where end_mrr <> moved_mrr

    union all

    select
        month,
        'a customer moves twice' as problem
    from repeated

    union all

    select
        month,
        'a change is not positive' as problem
    from movements
    where mrr_change <= 0

)

select * from final
