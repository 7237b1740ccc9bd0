-- No month is missing up to the clock's, and each starts where the one before ended.
with

revenue as (

    select * from {{ ref('revenue_monthly') }}

),

followed as (

    select
        month,
        end_mrr,
        lead(month) over (order by month) as next_month,
        lead(start_mrr) over (order by month) as next_start_mrr
    from revenue

),

final as (

    select *
    from followed
    where
        -- only the clock's own month has no next one
        (next_month is null and month <> cast({{ dbt.date_trunc('month', as_of_date()) }} as date))
        or next_month <> cast({{ dbt.dateadd('month', 1, 'month') }} as date)
        or next_start_mrr <> end_mrr

)

select * from final
