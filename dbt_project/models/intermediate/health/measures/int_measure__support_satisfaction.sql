-- Mean satisfaction, 0 to 1, over the ratings of the last 180 days; nothing where nobody rated.
with

customer_days as (

    select * from {{ ref('int_customer_days__live') }}

),

ratings as (

    select * from {{ ref('int_satisfaction__answered') }}

),

final as (

    select
        customer_days.customer_id,
        customer_days.as_of_date,
        avg(ratings.satisfaction) as raw_value
    from customer_days
    inner join ratings
        on
            customer_days.customer_id = ratings.customer_id
            and ratings.answered_date <= customer_days.as_of_date
            and ratings.answered_date > {{ days_before('customer_days.as_of_date', 180) }}
    group by
        customer_days.customer_id,
        customer_days.as_of_date

)

select * from final
