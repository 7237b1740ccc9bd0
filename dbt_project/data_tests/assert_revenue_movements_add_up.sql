-- Start and movements make the end of every month, to the cent.
with

revenue as (

    select * from {{ ref('revenue_monthly') }}

),

final as (

    select *
    from revenue
    where start_mrr + new_mrr + expansion_mrr + reactivation_mrr - contraction_mrr - churn_mrr <> end_mrr

)

select * from final
