-- How many left in each tenth of the score: whether a worse score really means that more leave.
with

observations as (

    select * from {{ ref('health_observations') }}

),

ranked as (

    select
        observations.*,
        ntile(10) over (
            partition by lead_days
            order by health_score, customer_id, as_of_date
        ) as decile
    from observations

),

final as (

    select
        lead_days,
        cast(decile as integer) as decile,
        cast(count(*) as integer) as observations,
        cast(count(distinct customer_id) as integer) as customers,
        cast(sum(case when has_churned then 1 else 0 end) as integer) as churned,
        {{ rounded(ratio('sum(case when has_churned then 1 else 0 end)', 'count(*)'), 5, 4) }} as churn_rate,
        min(health_score) as lowest_score,
        max(health_score) as highest_score,
        {{ rounded(ratio('sum(health_score)', 'count(*)'), 5, 2) }} as mean_score
    from ranked
    group by
        lead_days,
        decile

)

select * from final
