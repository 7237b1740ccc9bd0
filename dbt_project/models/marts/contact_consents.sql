-- Whether a contact may be reached by a channel for a purpose, on what basis, and who said so.
-- The rules stand in seeds/rules/consent_rules.csv; the words of an address owner stand above every basis.
with

contacts as (

    select * from {{ ref('int_contacts__identified') }}

),

suppressed as (

    select * from {{ ref('int_contacts__suppressed') }}

),

customers as (

    select * from {{ ref('int_customers__subscribed') }}

),

legal_bases as (

    select * from {{ ref('legal_bases') }}

),

country_groups as (

    select * from {{ ref('country_groups') }}

),

consent_rules as (

    select * from {{ ref('consent_rules') }}

),

suppressions as (

    select
        email,
        max(case when reason = 'unsubscribed' then suppressed_at end) as unsubscribed_at,
        max(case when reason = 'bounced' then suppressed_at end) as bounced_at,
        max(case when reason = 'complained' then suppressed_at end) as complained_at
    from suppressed
    group by email

),

-- the stronger of what the CRM knows and of the contract that a live subscription is
based as (

    select
        contacts.contact_id,
        contacts.customer_id,
        coalesce(country_groups.country_group, 'any') as country_group,
        case
            when legal_bases.basis is not null then legal_bases.basis
            when customers.is_live then 'contract'
            else 'none'
        end as basis,
        case
            when legal_bases.basis is not null then 'crm'
            when customers.is_live then 'billing'
        end as basis_source,
        case when legal_bases.basis is null and customers.is_live then customers.live_since end as basis_since,
        contacts.has_opted_out,
        suppressions.unsubscribed_at,
        suppressions.bounced_at,
        suppressions.complained_at
    from contacts
    left join customers
        on contacts.customer_id = customers.customer_id
    left join legal_bases
        on contacts.legal_basis = legal_bases.legal_basis
    left join country_groups
        on contacts.country = country_groups.country
    left join suppressions
        on contacts.email = suppressions.email

),

ruled as (

    select
        based.*,
        consent_rules.channel,
        consent_rules.purpose,
        consent_rules.weakest_basis,
        case
            when consent_rules.channel = 'email' and based.bounced_at is not null then 'bounced'
            when not consent_rules.ends_with_unsubscribe then null
            when based.complained_at is not null then 'complained'
            when based.unsubscribed_at is not null then 'unsubscribed'
            when based.has_opted_out then 'opted_out'
        end as stopped_by
    from based
    inner join consent_rules
        on based.country_group = consent_rules.country_group

),

final as (

    select
        {{ hashed_id(['contact_id', 'channel', 'purpose']) }} as consent_id,
        contact_id,
        customer_id,
        channel,
        purpose,
        stopped_by is null and (
            basis = 'opt_in'
            or (basis = 'soft_opt_in' and weakest_basis in ('soft_opt_in', 'contract'))
            or (basis = 'contract' and weakest_basis = 'contract')
        ) as is_allowed,
        basis,
        stopped_by,
        case
            when stopped_by = 'opted_out' then 'crm'
            when stopped_by is not null then 'mail'
            else basis_source
        end as source,
        case stopped_by
            when 'bounced' then bounced_at
            when 'complained' then complained_at
            when 'unsubscribed' then unsubscribed_at
            when 'opted_out' then null
            else basis_since
        end as since
    from ruled

)

select * from final
