-- How long customers of a plan are expected to stay, month by month, by the churn of the months before.
with

customer_months as (

    select * from {{ ref('int_customer_months__summed') }}

),

subscription_months as (

    select * from {{ ref('int_subscription_months__priced') }}

),

months as (

    select * from {{ ref('int_revenue_months') }}

),

-- the plan of a month is the one that brought most; a customer who left is counted on the plan it left
plans_paid as (

    select
        customer_id,
        month,
        plan_name,
        row_number() over (
            partition by customer_id, month
            order by mrr desc, plan_name
        ) as revenue_rank
    from subscription_months
    where mrr > 0

),

-- each month that a customer began with revenue is a month in which it could leave
exposed as (

    select
        customer_months.month,
        coalesce(plans_paid.plan_name, '') as plan_name,
        count(*) as exposed_months,
        sum(case when customer_months.end_mrr = 0 then 1 else 0 end) as churns
    from customer_months
    left join plans_paid
        on
            customer_months.customer_id = plans_paid.customer_id
            and plans_paid.revenue_rank = 1
            and plans_paid.month = cast({{ dbt.dateadd('month', -1, 'customer_months.month') }} as date)
    where customer_months.start_mrr > 0
    group by
        customer_months.month,
        coalesce(plans_paid.plan_name, '')

),

-- what was known when the month began
windowed as (

    select
        months.month,
        exposed.plan_name,
        sum(exposed.exposed_months) as exposed_months,
        sum(exposed.churns) as churns
    from months
    inner join exposed
        on
            exposed.month < months.month
            and exposed.month >= cast(
                {{ dbt.dateadd('month', '-1 * cast(' ~ threshold('ltv_window_months') ~ ' as integer)', 'months.month') }} as date
            )
    group by
        months.month,
        exposed.plan_name

),

base as (

    select
        month,
        {{ ratio('sum(churns)', 'sum(exposed_months)') }} as monthly_churn
    from windowed
    group by month

),

-- without a plan, and on one with few churns, the base stands in
plans as (

    select distinct plan_name
    from subscription_months
    where plan_name is not null

    union all

    select '' as plan_name

),

-- few churns say little: the base speaks for a plan with hardly any, and leans on the others
plan_churn as (

    select
        months.month,
        plans.plan_name,
        case when windowed.churns >= {{ threshold('ltv_min_churns') }} then 'plan' else 'base' end as ltv_basis,
        case
            when windowed.churns >= {{ threshold('ltv_min_churns') }}
                then {{ ratio(
                    'windowed.churns + base.monthly_churn * ' ~ threshold('ltv_prior_months'),
                    'windowed.exposed_months + ' ~ threshold('ltv_prior_months')
                ) }}
            else base.monthly_churn
        end as monthly_churn
    from months
    cross join plans
    left join base
        on months.month = base.month
    left join windowed
        on
            months.month = windowed.month
            and plans.plan_name = windowed.plan_name

),

final as (

    select
        month,
        plan_name,
        ltv_basis,
        case
            when monthly_churn * {{ threshold('ltv_max_months') }} > 1 then {{ rounded(ratio('1', 'monthly_churn'), 18, 2) }}
            else {{ rounded(threshold('ltv_max_months'), 18, 2) }}
        end as expected_months
    from plan_churn

)

select * from final
