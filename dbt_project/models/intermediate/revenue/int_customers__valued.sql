-- What a customer is expected to bring from now on, and how much more it could buy.
with

customers as (

    select * from {{ ref('int_customers__identified') }}

),

subscribed as (

    select * from {{ ref('int_customers__subscribed') }}

),

customer_months as (

    select * from {{ ref('int_customer_months__summed') }}

),

subscription_months as (

    select * from {{ ref('int_subscription_months__priced') }}

),

months as (

    select * from {{ ref('int_revenue_months') }}

),

monthly_prices as (

    select * from {{ ref('int_prices__monthly') }}

),

tiers as (

    select * from {{ ref('tiers') }}

),

potentials as (

    select * from {{ ref('potentials') }}

),

-- the plan somebody pays for, or paid for last
ranked_plans as (

    select
        customer_id,
        plan_name,
        row_number() over (
            partition by customer_id
            order by month desc, mrr desc, plan_name
        ) as recency
    from subscription_months
    where mrr > 0

),

last_plans as (

    select
        customer_id,
        plan_name
    from ranked_plans
    where recency = 1

),

-- each month that a customer began with revenue is a month in which it could leave
exposed as (

    select
        coalesce(last_plans.plan_name, '') as plan_name,
        sum(1) as exposed_months,
        sum(case when customer_months.end_mrr = 0 then 1 else 0 end) as churns
    from customer_months
    inner join months
        on customer_months.month = months.month
    left join last_plans
        on customer_months.customer_id = last_plans.customer_id
    where
        customer_months.start_mrr > 0
        and months.is_complete
        and customer_months.month >= cast({{ dbt.dateadd('month', '-1 * ' ~ threshold('ltv_window_months'), as_of_date()) }} as date)
    group by coalesce(last_plans.plan_name, '')

),

base as (

    select {{ ratio('sum(churns)', 'sum(exposed_months)') }} as monthly_churn
    from exposed

),

-- few churns say little: the base speaks for a plan with hardly any, and leans on the others
plan_churn as (

    select
        exposed.plan_name,
        case when exposed.churns >= {{ threshold('ltv_min_churns') }} then 'plan' else 'base' end as ltv_basis,
        case
            when exposed.churns >= {{ threshold('ltv_min_churns') }}
                then {{ ratio(
                    'exposed.churns + base.monthly_churn * ' ~ threshold('ltv_prior_months'),
                    'exposed.exposed_months + ' ~ threshold('ltv_prior_months')
                ) }}
            else base.monthly_churn
        end as monthly_churn
    from exposed
    cross join base

),

plan_prices as (

    select
        plan_name,
        {{ rounded('avg(monthly_amount)', 18, 2) }} as monthly_amount
    from monthly_prices
    group by plan_name

),

plan_steps as (

    select
        lower_plans.plan_name,
        count(higher_plans.plan_name) as plans_above
    from plan_prices as lower_plans
    left join plan_prices as higher_plans
        on lower_plans.monthly_amount < higher_plans.monthly_amount
    group by lower_plans.plan_name

),

measured as (

    select
        subscribed.customer_id,
        coalesce(customer_months.end_mrr, 0) as mrr,
        coalesce(plan_churn.ltv_basis, 'base') as ltv_basis,
        coalesce(plan_churn.monthly_churn, base.monthly_churn) as monthly_churn,
        case
            when subscribed.seats_bought > 0 and customers.employees > 0
                then {{ ratio(
                    'customers.employees * ' ~ threshold('potential_addressable_share'),
                    'subscribed.seats_bought'
                ) }} * (1 + coalesce(plan_steps.plans_above, 0) * {{ threshold('potential_plan_step') }})
        end as potential_ratio
    from subscribed
    inner join customers
        on subscribed.customer_id = customers.customer_id
    cross join base
    left join customer_months
        on
            subscribed.customer_id = customer_months.customer_id
            and customer_months.month = cast({{ dbt.date_trunc('month', as_of_date()) }} as date)
    left join last_plans
        on subscribed.customer_id = last_plans.customer_id
    left join plan_churn
        on last_plans.plan_name = plan_churn.plan_name
    left join plan_steps
        on subscribed.plan_name = plan_steps.plan_name

),

expected as (

    select
        customer_id,
        ltv_basis,
        {{ rounded('potential_ratio', 18, 2) }} as potential_ratio,
        case
            when monthly_churn * {{ threshold('ltv_max_months') }} > 1 then {{ rounded(ratio('1', 'monthly_churn'), 18, 2) }}
            else {{ rounded(threshold('ltv_max_months'), 18, 2) }}
        end as expected_months,
        mrr
    from measured

),

valued as (

    select
        customer_id,
        {{ rounded('mrr * expected_months * ' ~ threshold('ltv_gross_margin'), 18, 2) }} as ltv,
        ltv_basis,
        expected_months,
        potential_ratio
    from expected

),

-- the highest band whose minimum is reached
banded as (

    select
        valued.customer_id,
        max(tiers.min_ltv) as min_ltv,
        max(potentials.min_ratio) as min_ratio
    from valued
    left join tiers
        on valued.ltv >= tiers.min_ltv
    left join potentials
        on valued.potential_ratio >= potentials.min_ratio
    group by valued.customer_id

),

final as (

    select
        valued.customer_id,
        valued.ltv,
        valued.ltv_basis,
        valued.expected_months,
        tiers.tier,
        valued.potential_ratio,
        coalesce(potentials.potential, 'unknown') as potential
    from valued
    inner join banded
        on valued.customer_id = banded.customer_id
    left join tiers
        on banded.min_ltv = tiers.min_ltv
    left join potentials
        on banded.min_ratio = potentials.min_ratio

)

select * from final
