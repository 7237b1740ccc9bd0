with

source as (

    select
        *,
        {{ load_rank('id', '_landed_at') }} as load_rank
    from {{ landed('intercom', 'company_history', [
        'id',
        'company_id',
        'name',
        'website',
        'created_at',
        '_fivetran_active',
    ], optional=true) }}
    -- a company has a row for each version
    where coalesce({{ true_or_false('_fivetran_active') }}, true)

),

renamed as (

    select
        ---------- ids
        cast(id as {{ dbt.type_string() }}) as intercom_company_id,
        cast(company_id as {{ dbt.type_string() }}) as workspace_id,
        ---------- attributes
        name as company_name,
        -- https://www.a.example/about is a.example
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
        ---------- timestamps
        {{ utc_timestamp('created_at') }} as created_at,
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
