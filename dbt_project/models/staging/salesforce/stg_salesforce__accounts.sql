with

source as (

    select
        *,
        {{ load_rank('id', ['_landed_at', 'last_modified_date']) }} as load_rank
    from {{ landed('salesforce', 'account', [
        'id',
        'name',
        'website',
        'industry',
        'billing_country',
        'type',
        'number_of_employees',
        'owner_id',
        'stripe_customer_id_c',
        'workspace_id_c',
        'contract_term_months_c',
        'renewal_date_c',
        'created_date',
        'last_modified_date',
    ], optional=true) }}

),

renamed as (

    select
        ---------- ids
        id as salesforce_account_id,
        -- columns of the company's own; empty where it has none of the name
        cast(stripe_customer_id_c as {{ dbt.type_string() }}) as stripe_customer_id,
        cast(workspace_id_c as {{ dbt.type_string() }}) as workspace_id,
        owner_id,
        ---------- attributes
        name as company_name,
        nullif(
            replace(
                {{ dbt.split_part(
                    "replace(replace(lower(trim(website)), 'https://', ''), 'http://', '')", "'/'", 1
                ) }},
                'www.',
                ''
            ),
            ''
        ) as domain,
        industry,
        billing_country as country,
        lower(type) as lifecycle_stage,
        {{ whole_number('number_of_employees') }} as employees,
        {{ whole_number('contract_term_months_c') }} as contract_term_months,
        cast({{ utc_timestamp('renewal_date_c') }} as date) as renewal_date,
        ---------- timestamps
        {{ utc_timestamp('created_date') }} as created_at,
        {{ utc_timestamp('_landed_at') }} as loaded_at
    from source
    where
        load_rank = 1
        and not _is_deleted
        and id is not null

),

known as (

    select *
    from renamed
    where {{ not_after_clock('created_at') }}

)

select * from known
